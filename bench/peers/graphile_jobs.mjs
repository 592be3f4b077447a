// graphile-worker: the fastest of all, tuned as its own documents say: a queue in memory, completions in batches.
import { broker, hold, main, PAYLOAD, require, tick } from "./produce.mjs";

const { Logger, makeWorkerUtils, run } = require("graphile-worker");
const logger = new Logger(() => () => {});
let utils;
const own = async () => (utils ??= await makeWorkerUtils({ connectionString: broker, logger }));

await main({
  async work() {
    const worker = {
      connectionString: broker, concurrentJobs: 24, maxPoolSize: 10, pollInterval: 2000,
      localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0, logger,
    };
    await run({ preset: { worker }, taskList: { noop: async (job) => tick(job.payload), hold } });
  },
  prepare: async () => (await own()).migrate(),
  async submit(count, before) {
    const to = await own();
    for (let n = 0; n < count; n++) await to.addJob("noop", { payload: await before() });
  },
  async bulk(count) {
    const to = await own();
    for (let left = count; left > 0; left -= 1000) {
      await to.addJobs(Array.from({ length: Math.min(1000, left) }, () => ({ identifier: "noop", payload: { payload: PAYLOAD } })));
    }
  },
  holding: async () => (await own()).addJob("hold", {}),
  close: async () => utils?.release(),
});
