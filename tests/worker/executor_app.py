"""Handlers that the executor's tests run, the wicked ones too."""

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import rota

app = rota.App()
KEPT: list[object] = []  # programs of async handlers: asyncio kills those that are collected, counted or not


@app.handler
def noop():
    pass


@app.handler
async def anoop():
    pass


@app.handler
def echo(*args, **kwargs):
    return {"args": list(args), "kwargs": kwargs}


@app.handler
async def aecho(*args, **kwargs):
    return {"args": list(args), "kwargs": kwargs}


@app.handler
def which(ctx):
    return ctx.index


@app.handler
async def awhich(ctx):
    return ctx.index


def _identity():
    secret = {"ROTA_TOKEN", "ROTA_STORE", "ROTA_HOOK_SECRET"} & set(os.environ)
    return [os.getuid(), os.getgid(), os.environ["HOME"], sorted(secret), os.access("/proc/self/io", os.R_OK)]


@app.handler
def whoami(_):
    return _identity()


@app.handler
async def awhoami(_):
    return _identity()


@app.handler
def pid():
    return os.getpid()


@app.handler
async def apid():
    return os.getpid()


@app.handler
def environment():
    return dict(os.environ) | {"cwd": os.getcwd(), "path": ":".join(sys.path)}


@app.handler
def about(ctx):
    return [ctx.job_id, ctx.attempt, ctx.owner, ctx.aborting, ctx.deadline and ctx.deadline.isoformat()]


@app.handler(name="fails", timeout="2m", retries=5)
def fails_with(kind: str):
    match kind:
        case "error":
            raise ValueError("x" * 100_000)
        case "refuse":
            raise rota.Fail("never")
        case "snooze":
            raise rota.Snooze(7)
        case "retry":
            raise rota.Retry("busy", after=3)
        case "exit":
            sys.exit(3)
        case "interrupt":
            raise KeyboardInterrupt
        case "memory":
            raise MemoryError
        case "bad":
            return object()
        case "long":
            return "x" * (2 << 20)
        case "segfault":
            ctypes.string_at(0)
        case "os_exit":
            os._exit(7)
        case "suicide":
            os.kill(os.getpid(), signal.SIGKILL)
        case "deaf":
            os.closerange(3, 1024)
            time.sleep(60)
        case "garbage":
            for fd in range(3, 30):
                with contextlib.suppress(OSError):
                    os.write(fd, b"\x05\x00\x00\x00nonsense" * 10)
            time.sleep(60)
        case "raise_aborted":
            raise rota.Aborted
    return None


@app.handler
async def afails(kind: str):
    fails_with(kind)


@app.handler
def speaks(ctx):
    print("to stdout")
    print("to stderr", file=sys.stderr)
    os.write(1, b"caf\xc3")
    os.write(1, b"\xa9 \xff\n")
    ctx.log("a line")
    ctx.progress(0.5, "half way")
    ctx.call_hook({"n": 1})
    subprocess.run(["echo", "from a program"], check=True)


@app.handler
async def aspeaks(word: str, ctx):
    print("begin", word)
    await asyncio.sleep(0.02)
    await asyncio.to_thread(print, "thread", word)
    ctx.log("log " + word)
    ctx.progress(0.25)
    print("end", word, file=sys.stderr)


@app.handler
def closes_streams():
    print("before")
    sys.stdout.flush()
    os.close(1)
    os.close(2)
    sys.stdout.close()


@app.handler
def floods(mib: int):
    line = "y" * 1023
    for _ in range(mib * 1024):
        print(line)


@app.handler
def polite(path: str, ctx):
    Path(path).write_text(str(os.getpid()))
    try:
        time.sleep(60)
    except rota.Aborted:
        print("cleaned up, aborting:", ctx.aborting)
        raise


@app.handler
def forgets_to_raise(path: str):
    Path(path).touch()
    try:
        time.sleep(60)
    except rota.Aborted:
        return "fine"


@app.handler
def stubborn(path: str):
    Path(path).touch()
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(60)


@app.handler
def busy_in_c(path: str):
    Path(path).touch()
    sum(range(10**12))


@app.handler
def stops_itself(path: str):
    Path(path).touch()
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(60)


@app.handler
def many(path: str, count: int):
    children = [subprocess.Popen(["sleep", "600"]) for _ in range(count)]
    Path(path).touch()
    for child in children:
        child.wait()


@app.handler
def shell(path: str, script: str, wait: bool = True):
    child = subprocess.Popen(["bash", "-c", script, "bash", path])
    if wait:
        child.wait()
    else:
        _wait_for(path)


@app.handler
def forks(path: str):
    if os.fork() == 0:
        Path(path).touch()
        return "from the fork"
    _wait_for(path)
    return "from the handler"


@app.handler
async def sleeps(path: str, ctx):
    Path(path).touch()
    await asyncio.sleep(60)


@app.handler
async def asleep(seconds: float):
    await asyncio.sleep(seconds)
    return "slept"


@app.handler
async def ignores_cancel(path: str):
    Path(path).touch()
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)


@app.handler
async def blocks_loop(path: str):
    Path(path).touch()
    time.sleep(60)


@app.handler
async def ashell(path: str, script: str, wait: bool = True):
    process = await asyncio.create_subprocess_exec("bash", "-c", script, "bash", path)
    KEPT.append(process)
    if wait:
        await process.wait()
    else:
        await asyncio.to_thread(_wait_for, path)


@app.handler
async def aforks(path: str):
    if os.fork() == 0:
        Path(path).touch()
        os.execvp("sleep", ["sleep", "600"])
    await asyncio.sleep(600)


@app.handler
def thread_forks(path: str):
    def fork():
        subprocess.Popen(["sleep", "600"])
        Path(path).touch()

    threading.Thread(target=fork).start()
    _wait_for(path)


@app.handler
def grows():
    grows.kept = bytearray(64 << 20)  # touched: bytearrays are zeroed
    return os.getpid()


def _wait_for(path: str) -> None:
    while not os.path.exists(path):
        time.sleep(0.005)
