#!/usr/bin/env node
// A worker in JavaScript: Node 18 or newer, no packages. It runs scripts, and handlers: functions of the job's data, each
// call in a process of its own, so that it can be ended. What they print is the job's output. See docs/worker-protocol.md.
//   ROTA_SERVER=http://127.0.0.1:8000 ROTA_SLOTS=2 node examples/workers/worker.mjs       (ROTA_TOKEN: where one is asked for)
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const handlers = {
  'rota.check.echo': (data) => data,
  'rota.check.fail': ({ message }) => { throw new Error(message) },
  'rota.check.sleep': async ({ seconds, file }) => {
    for (let n = 1; n <= seconds * 10; n++) {
      console.log(`tick ${n}`)
      if (file) appendFileSync(file, `tick ${n}\n`)
      await sleep(100)
    }
  },
}

const server = `${process.env.ROTA_SERVER ?? 'http://127.0.0.1:8000'}/v1/workers`
const token = process.env.ROTA_TOKEN
delete process.env.ROTA_TOKEN // it is none of a job's business
const slots = Number(process.env.ROTA_SLOTS ?? 2)
let stopping = false // SIGTERM: give back what runs. 'drain': finish it

class Unknown extends Error {} // the server does not know this worker (any more)

async function call(method, path, body, seconds, over) { // `over` ends it before its time
  const cut = new AbortController(), end = () => cut.abort(new Error(`${path}: no answer`)), timer = setTimeout(end, seconds * 1000)
  over?.addEventListener('abort', end)
  try {
    const headers = { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) }
    const answer = await fetch(server + path, { method, headers, signal: cut.signal, body: JSON.stringify(body) })
    const text = await answer.text()
    if (answer.status === 404) throw new Unknown(text)
    if (answer.status >= 500 || answer.status === 429) throw new Error(text)
    if (!answer.ok) console.error(`${path} is refused: ${text}`)
    return answer.ok && text ? JSON.parse(text) : {}
  } finally {
    clearTimeout(timer)
    over?.removeEventListener('abort', end)
  }
}

async function insist(path, body) { // until there is an answer, whichever
  for (;;) {
    try { return await call('POST', path, body, 10) } catch (error) { if (error instanceof Unknown) return {} }
    await sleep(300)
  }
}

function kill(group, signal) { // says whether there was anybody
  try { return process.kill(-group, signal) } catch { return false }
}

function stop(one, why, grace) { // ends an attempt: SIGTERM to all its processes, SIGKILL after the grace
  if (one.why && why !== 'lost') return // told before
  Object.assign(one, { why, endedAt: performance.now(), signals: [['SIGTERM', 0]] })
  if (!one.group) return // not started, and it will not be
  kill(one.group, 'SIGTERM')
  setTimeout(() => { if (kill(one.group, 'SIGKILL')) one.signals.push(['SIGKILL', grace]) }, grace * 1000)
}

const unrun = ({ name, message }) => ({ outcome: 'errored', error: { type: name, message } }) // it could not be started

async function run(one, told) { // runs an attempt to the end of its processes; returns what to report of it
  const { handler, data, script, options, job, attempt, owner } = one.lease
  if (Object.keys(options?.limits ?? {}).length || !(script || handlers[handler])) {
    return { outcome: 'errored', refused: true, error: { type: 'refused', message: 'this worker knows no limits' } }
  }
  const output = ['ignore', 'pipe', 'pipe']
  const env = { PATH: process.env.PATH, HOME: process.env.HOME, ROTA_JOB_ID: job, ROTA_ATTEMPT: attempt, ROTA_OWNER: owner ?? 'default' }
  const child = handler
    ? spawn(process.execPath, [fileURLToPath(import.meta.url), handler], { detached: true, stdio: [...output, 'ipc'] })
    : spawn('bash', ['-c', script], { detached: true, stdio: output, env: { ...env, ...options?.env } })
  one.group = child.pid // detached: it leads a process group of its own
  let result
  child.on('message', (message) => { result = message })
  if (handler) child.send({ data }, () => {})
  const tell = async (stream) => { // one piece after the other: what comes meanwhile waits in the pipe
    for await (const text of child[stream].setEncoding('utf8')) await told(stream, text)
  }
  const telling = [tell('stdout'), tell('stderr')]
  const [code, signal] = await once(child, 'exit')
  if (!one.why) kill(one.group, 'SIGKILL') // nothing that it started stays
  while (kill(one.group, 0)) await sleep(20)
  await Promise.all(telling)
  if (!handler && code === 0) result = {}
  const error = { type: 'exit', message: signal ? `ended by ${signal}` : `exit status ${code}` }
  return { exit_code: code, ...(result?.error || !result ? { outcome: 'errored', error, ...result } : { outcome: 'succeeded', ...result }) }
}

async function work({ worker, lease_s, heartbeat_s }) { // under one registration, to its end
  const held = new Map(), over = new AbortController(), ended = once(over.signal, 'abort')
  const repeat = async (step) => {
    while (!over.signal.aborted) {
      try { await step() } catch (error) {
        if (error instanceof Unknown) over.abort()
        else if (!over.signal.aborted) console.error(`${error.message}; trying again`)
        await sleep(300)
      }
    }
  }
  const heartbeat = async () => { // names all that is held; what an answered one has named is ours from its sending on
    const named = [...held.values()], sentAt = performance.now()
    const body = { held: named.map(({ lease: { job, attempt } }) => ({ job, attempt })) }
    obey(await call('POST', `/${worker}/heartbeat`, body, heartbeat_s))
    for (const one of named) one.since = sentAt
  }
  const obey = ({ abort = [], lost = [], drain }) => {
    for (const { job, attempt, grace_s, why } of abort) if (held.has(`${job} ${attempt}`)) stop(held.get(`${job} ${attempt}`), why, grace_s)
    for (const { job, attempt } of lost) if (held.has(`${job} ${attempt}`)) stop(held.get(`${job} ${attempt}`), 'lost', 0)
    if (drain) stopping ||= 'drain'
  }
  const attempt = async (one, key) => {
    const { job, attempt } = one.lease
    let n = 0
    const told = (stream, text) => insist(`/${worker}/logs`, { logs: [{ job, attempt, n: n++, stream, text }] })
    const end = one.why || stopping || over.signal.aborted ? { outcome: 'interrupted' } : await run(one, told).catch(unrun)
    const why = { requested: 'aborted', timed_out: 'timed_out', interrupted: 'interrupted' }[one.why]
    const proof = { signals: one.signals, took_s: (performance.now() - one.endedAt) / 1000 }
    const report = { job, attempt, ...(why ? { outcome: why, proof } : end) }
    if (one.why !== 'lost') await insist(`/${worker}/report`, { reports: [report] })
    held.delete(key)
  }
  const claim = async () => {
    const free = slots - held.size
    if (free < 1 || stopping) return sleep(50)
    const { leases = [] } = await call('POST', `/${worker}/claim`, { free, wait: 20 }, 30, over.signal)
    const taken = leases.map((lease) => [`${lease.job} ${lease.attempt}`, { lease }])
    for (const [key, one] of taken) held.set(key, one)
    while (taken.length && !over.signal.aborted) try { await heartbeat(); break } catch { await sleep(100) } // then it is ours
    for (const [key, one] of taken) attempt(one, key)
  }
  const look = async () => { // the clock: all that runs must be dead before the lease may be over
    if ([...held.values()].some(({ since }) => performance.now() - since > lease_s * 800)) over.abort()
    if (stopping === true) for (const one of held.values()) stop(one, 'interrupted', 1)
    if (stopping && !held.size) over.abort()
    await sleep(50)
  }
  await Promise.all([
    repeat(claim),
    repeat(look),
    repeat(async () => { // from sending to sending
      const next = sleep(heartbeat_s * 1000)
      await heartbeat()
      await Promise.race([next, ended])
    }),
    repeat(async () => obey(await call('POST', `/${worker}/watch`, { wait: 20 }, 30, over.signal))),
    ended.then(() => { if (!stopping) for (const one of held.values()) stop(one, 'lost', 0) }),
  ])
  for (let n = 0; held.size && n < 250; n += stopping ? 1 : 0) await sleep(20)
  await call('DELETE', `/${worker}`, undefined, 5).catch(() => {})
}

if (process.argv[2]) { // the process of one call of a handler
  const [{ data }] = await once(process, 'message')
  process.on('disconnect', () => process.exit(1)) // its worker is gone
  let end
  try { end = { result: (await handlers[process.argv[2]](data)) ?? null } } catch (error) {
    end = { error: { type: error.name, message: error.message, traceback: error.stack } }
  }
  process.send(end, () => process.exit(0))
} else {
  for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => { stopping = true })
  const hello = { name: `node-${process.pid}`, handlers: Object.keys(handlers).map((name) => ({ name })), scripts: true, slots }
  while (!stopping) {
    try { await work(await call('POST', '', hello, 10)) } catch { await sleep(500) }
  }
  process.exit(0)
}
