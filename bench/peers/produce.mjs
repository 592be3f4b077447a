// What bench/peers/produce.py does, for peers on Node: acts as a peer's client or worker, and prints what it took.
import fs from "node:fs";
import { createRequire } from "node:module";
import { performance } from "node:perf_hooks";

export const require = createRequire(`${process.env.ROTA_BENCH_MODULES}/`);
export const broker = process.env.ROTA_BENCH_BROKER;
export const PAYLOAD = "x".repeat(80);
const PAUSE_MS = 20, LOAD_S = 2, WAIT_MS = 60_000, TICK = 16;

const files = {};
const open = (name) => (files[name] ??= fs.openSync(process.env[name], "a", 0o600));
// The clock of the system, as Python's time.time_ns(): the finest that Node has of it.
const now = () => BigInt(Math.round((performance.timeOrigin + performance.now()) * 1e6));
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const stamped = () => String(now()).padStart(20, "0").padEnd(80, "x");

export function tick(payload) {
  const note = Buffer.alloc(TICK);
  note.writeBigInt64LE(now(), 0);
  note.writeBigInt64LE(/^\d/.test(payload) ? BigInt(payload.slice(0, 20)) : 0n, 8);
  fs.writeSync(open("ROTA_BENCH_TICKS"), note);
}

export async function hold() {
  const note = Buffer.alloc(24);
  note.writeBigInt64LE(0n, 0);
  note.writeBigInt64LE(BigInt(process.pid), 8);
  note.writeBigInt64LE(now(), 16);
  fs.writeSync(open("ROTA_BENCH_HOLDS"), note);
  await sleep(600_000);
}

function count() {
  const file = process.env.ROTA_BENCH_TICKS;
  return fs.existsSync(file) ? Math.floor(fs.statSync(file).size / TICK) : 0;
}

async function wait(n) {
  for (let began = Date.now(); count() < n; await sleep(1)) {
    if (Date.now() - began > WAIT_MS) throw new Error(`${count()} of ${n} jobs have started`);
  }
}

function taken(from) {
  const notes = fs.readFileSync(process.env.ROTA_BENCH_TICKS);
  return Array.from({ length: notes.length / TICK - from }, (_, at) => {
    const place = (from + at) * TICK;
    return Number(notes.readBigInt64LE(place) - notes.readBigInt64LE(place + 8)) / 1e9;
  });
}

// `peer` has work(), prepare(), submit(count, before), bulk(count), holding(), close()
export async function main(peer) {
  const [what, number] = [process.argv[2], Number(process.argv[3] ?? 0)];
  if (what === "work") return peer.work();
  const began = performance.now();
  let found = null;
  const seen = count();
  if (what === "prepare") await peer.prepare?.();
  else if (what === "submit") await peer.submit(number, async () => PAYLOAD);
  else if (what === "bulk") await peer.bulk(number);
  else if (what === "hold") await peer.holding();
  else if (what === "starts") {
    let sent = 0;
    await peer.submit(number, async () => {
      await wait(seen + sent++);
      await sleep(PAUSE_MS);
      return stamped();
    });
    await wait(seen + number);
    found = taken(seen);
  } else if (what === "load") {
    const all = Math.max(Math.floor(number * LOAD_S), 20);
    let due = performance.now();
    await peer.submit(all, async () => {
      const left = due - performance.now();
      due += 1000 / number;
      if (left > 1) await sleep(left);
      return stamped();
    });
    await wait(seen + all);
    found = taken(seen);
  } else throw new Error(`${what}?`);
  console.log(JSON.stringify(found ?? (performance.now() - began) / 1000));
  await peer.close();
}
