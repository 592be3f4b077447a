// BullMQ: the fastest of the peers on Redis's protocol; results kept.
import { broker, hold, main, PAYLOAD, require, tick } from "./produce.mjs";

const { Queue, Worker } = require("bullmq");
const { hostname: host, port } = new URL(broker);
const connection = { host, port: Number(port), maxRetriesPerRequest: null };
let queue;
const own = () => (queue ??= new Queue("bench", { connection }));

await main({
  async work() {
    const run = async (job) => (job.name === "hold" ? hold() : (tick(job.data.payload), job.data.payload.length));
    new Worker("bench", run, { connection, concurrency: 100 });
  },
  async submit(count, before) {
    for (let n = 0; n < count; n++) await own().add("noop", { payload: await before() });
  },
  async bulk(count) {
    for (let left = count; left > 0; left -= 1000) {
      const jobs = Array.from({ length: Math.min(1000, left) }, () => ({ name: "noop", data: { payload: PAYLOAD } }));
      await own().addBulk(jobs);
    }
  },
  holding: () => own().add("hold", {}),
  close: () => queue?.close(),
});
