"""As whom jobs run, and what they can see of those who run them. Needs root, which can start a worker as anybody."""

import json
import os
import pwd
import secrets
import site
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import pytest

from rota.core.jobs import Lease, Limits, Report, RunOptions
from rota.core.states import Outcome
from rota.worker.identity import BadUser, find
from rota.worker.pool import Pool

# Of this process alone: other runs on this machine look for theirs, and show them on purpose.
TOKEN = f"token-{secrets.token_hex(8)}"
FOLDER = f"elsewhere-{secrets.token_hex(8)}"
STORE = f"sqlite:////var/lib/{FOLDER}/rota.db"
ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run something as somebody else")


def everybodys_python() -> str | None:
    """Return an interpreter that any user can run, of this one's version."""
    version = f"import sys; sys.exit(sys.version_info[:2] != {tuple(sys.version_info[:2])})"
    for python in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        if os.path.exists(python):
            try:
                if (
                    subprocess.run(
                        [python, "-c", version], user=65534, group=65534, extra_groups=[], cwd="/"
                    ).returncode
                    == 0
                ):
                    return python
            except PermissionError:
                continue
    return None


PYTHON = everybodys_python()
needs_python = pytest.mark.skipif(PYTHON is None, reason="there is no interpreter here that other users may run")


def script(text: str, **more) -> Lease:
    return Lease(job="job", attempt=1, kind="script", script=text, index=0, **more)


ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "TMPDIR": tempfile.gettempdir(),
    "PYTHONPATH": f"{ROOT}/src:{ROOT}:{':'.join(site.getsitepackages())}",
    "PYTHONDONTWRITEBYTECODE": "1",
    "ROTA_TOKEN": TOKEN,
    "ROTA_STORE": STORE,
    "ROTA_HOOK_SECRET": TOKEN,
    "HOME": "/root",
}


def host(run_as: str, *leases: Lease, user: int | None = None, fails: bool = False):
    """Run leases in a worker of their own, as `user` (None: root), whose jobs run as `run_as`; return its reports."""
    ran = subprocess.run(
        [
            PYTHON or sys.executable,
            "-m",
            "tests.worker.executor_private_host",
            run_as,
            msgspec.json.encode(leases).decode(),
        ],
        env=ENVIRONMENT,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        **({} if user is None else {"user": user, "group": user, "extra_groups": []}),
    )
    if fails:
        assert ran.returncode
        return ran.stderr
    assert ran.returncode == 0, ran.stderr
    return msgspec.json.decode(ran.stdout, type=list[Report])


# What a job finds when it looks at all that it may: environments, command lines, and the memory of its ancestors.
# The list of processes is made before grep begins, which so never meets its own command line; and in the text of the
# script, which is on its worker's command line, what it looks for stands in two halves.
SEARCH = f"""
found=0
places="/proc/[0-9]*/environ /proc/[0-9]*/cmdline"
shown=$(grep -a -l -e '{TOKEN[:10]}''{TOKEN[10:]}' -e 'elsewhere''{FOLDER[9:]}' $places 2>/dev/null)
if [ -n "$shown" ]; then echo "found in $shown"; found=1; fi
if env | grep -e '{TOKEN[:10]}' -e elsewhere; then found=1; fi
for p in $1 $PPID; do
    if ( : < /proc/$p/mem ) 2>/dev/null; then echo "opened /proc/$p/mem"; found=1; fi
    for f in environ maps auxv io; do
        if dd if=/proc/$p/$f of=/dev/null bs=1 count=1 2>/dev/null; then echo "read /proc/$p/$f"; found=1; fi
    done
    if ls /proc/$p/fd >/dev/null 2>&1; then echo "listed /proc/$p/fd"; found=1; fi
    if readlink /proc/$p/cwd /proc/$p/exe >/dev/null; then echo "followed a link of $p"; found=1; fi
done
exit $found
"""
TRACE = """
import ctypes, os, sys
ptrace = ctypes.CDLL(None, use_errno=True).ptrace
for pid in [*map(int, sys.argv[1:]), os.getppid()]:
    if ptrace(16, pid, 0, 0) == 0:
        sys.exit(f"traced {pid}")
"""


@needs_python
def test_a_job_of_the_workers_own_user_reads_nothing_of_what_runs_it():
    looked = script(SEARCH)
    traced = script(f"exec {PYTHON} - $1 <<'END'\n{TRACE}\nEND")
    for report in host("-", looked, traced, user=65534):
        assert report.exit_code == 0, (report.stdout, report.stderr)


@needs_python
def test_a_job_of_another_user_reads_nothing_of_what_runs_it():
    for report in host("nobody", script(SEARCH), script(f"exec {PYTHON} - $1 <<'END'\n{TRACE}\nEND")):
        assert report.exit_code == 0, (report.stdout, report.stderr)


def test_the_search_itself_finds_what_is_there_to_be_found():
    """The tests above say nothing unless the same search finds an environment that can be read."""
    shown = subprocess.Popen(["sleep", "600"], env={"ROTA_TOKEN": TOKEN}, user=65534, group=65534, extra_groups=[])
    try:
        ran = subprocess.run(
            ["bash", "-c", SEARCH, "bash", str(shown.pid)],
            user=65534,
            group=65534,
            extra_groups=[],
            capture_output=True,
            text=True,
        )
    finally:
        shown.kill()
        shown.wait()
    assert f"found in /proc/{shown.pid}/environ\n" in ran.stdout and f"opened /proc/{shown.pid}/mem" in ran.stdout
    assert ran.returncode == 1


def test_scripts_run_as_the_user_with_its_groups_and_home_in_a_folder_of_its_own():
    who = pwd.getpwnam("nobody")
    groups = " ".join(map(str, os.getgrouplist("nobody", who.pw_gid)))
    text = "id -u; id -g; id -G; echo $HOME; stat -c %u:%a .; touch x; pwd; kill -0 $PPID && echo hm; ls /root"
    report, after = host("nobody", script(text), script("ls -A; pwd"))
    uid, gid, all_groups, home, owner, folder = report.stdout.split("\n")[:6]
    assert (uid, gid, all_groups, home) == (str(who.pw_uid), str(who.pw_gid), groups, who.pw_dir)
    assert owner == f"{who.pw_uid}:700" and folder.startswith(tempfile.gettempdir()) and report.exit_code != 0
    assert after.stdout == f"{folder}\n" and not os.path.exists(folder)


def test_what_such_a_user_leaves_behind_is_ended_and_removed():
    wicked = "trap '' TERM; setsid sleep 600 & mkdir -p a/b; chmod 0 a/b a; ln -s /etc etc; echo $PWD; sleep 600"
    report, after = host("nobody", script(wicked, timeout_s=0.5, grace_s=0.2), script("ls -A"))
    assert report.outcome is Outcome.TIMED_OUT and report.proof.processes >= 3 and not report.proof.survivors
    assert not os.path.exists(report.stdout.strip()) and os.path.exists("/etc/passwd")
    assert (after.exit_code, after.stdout) == (0, "")


def test_limits_hold_for_such_a_user():
    options = RunOptions(limits=Limits(processes=8, files=32))
    fork = "ulimit -n; for i in $(seq 30); do sleep 60 & done; echo all; : {}"
    command = Lease(job="job", attempt=1, kind="command", script=fork, index=0, options=options)
    report, one = host("nobody", command, script("true"))
    assert report.stdout == "32\n" and "fork" in report.stderr and report.outcome is Outcome.ERRORED
    assert one.exit_code == 0


@needs_python
def test_handlers_run_as_the_user_too():
    leases = [Lease(job=name, attempt=1, handler=name, index=0) for name in ("whoami", "awhoami")]
    told = [msgspec.Raw(b"{}")]
    for report in host("nobody", *(msgspec.structs.replace(lease, inputs=told) for lease in leases)):
        assert report.outcome is Outcome.SUCCEEDED, report
        uid, gid, home, secret, own_io = json.loads(bytes(report.result))
        assert (uid, gid, home) == (65534, 65534, pwd.getpwnam("nobody").pw_dir)
        assert not secret and own_io


def test_a_user_that_is_not_there_and_a_worker_that_is_not_root_are_told_so():
    with pytest.raises(BadUser, match="no user 'no-such-user'"):
        Pool([], slots=1, scripts=True, on_output=print, run_as="no-such-user")
    assert find("nobody")["uid"] == find("65534")["uid"] == 65534


@needs_python
@pytest.mark.parametrize("command", ["worker --server http://127.0.0.1:9", "serve --port 0 --workers 0"])
def test_the_programs_themselves_are_hidden_from_their_own_user(command):
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, 65534, 65534)
        program = subprocess.Popen(
            [PYTHON, "-m", "rota", *command.split()],
            env=ENVIRONMENT | {"ROTA_STORE": f"sqlite:///{folder}/rota.db"},
            cwd=folder,
            user=65534,
            group=65534,
            extra_groups=[],
            stderr=subprocess.PIPE,
        )
        try:
            deadline = time.monotonic() + 30
            while os.stat(f"/proc/{program.pid}/environ").st_uid != 0:  # what its own user may not read is root's
                assert program.poll() is None, program.stderr.read()
                assert time.monotonic() < deadline, "it does not hide"
                time.sleep(0.01)
        finally:
            program.terminate()
            program.wait(20)
            program.stderr.close()


@needs_python
def test_whoever_is_not_root_cannot_run_jobs_as_another():
    wrong = host("root", script("true"), user=65534, fails=True)
    assert "BadUser: only root can run jobs as 'root': this worker runs as user number 65534" in wrong
