"""Workflows in Python: jobs that are joined by `>>`, and submitted together as a run. Nothing is run or asked here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self, Unpack

from rota.client.submission import JobId, Options, body_of, job_id
from rota.core.results import KEY
from rota.core.waits import Condition

_LITERAL = re.compile(r"\$+result")  # a member that is really called so has one more `$`


class ResultRef:
    """The result that a job of a flow will have, or a part of it: `a.result["rows"][0]`. Put it into others' data."""

    def __init__(self, job: FlowJob, path: str = "") -> None:
        self.job = job
        self.path = path

    def __getitem__(self, name: str | int) -> ResultRef:
        return ResultRef(self.job, f"{self.path}/{str(name).replace('~', '~0').replace('/', '~1')}")

    def __iter__(self) -> Any:
        raise TypeError("a result is not there before its job has run; to run a job for each item, use Flow.map")


class FlowJob:
    """A job of a flow, named `ref`. `a >> b` lets b wait for a to succeed, and returns b; either may be a list."""

    def __init__(self, flow: Flow, ref: str, body: dict[str, Any]) -> None:
        self.flow = flow
        self.ref = ref
        self._body = body
        self._after: dict[str, Condition] = dict.fromkeys(body.pop("after", ()), "succeeded")

    @property
    def result(self) -> ResultRef:
        """Return its result, to be put into the data, args or variables of a job that waits for it."""
        return ResultRef(self)

    def after(self, *others: FlowJob | JobId, on: Condition = "succeeded") -> Self:
        """Wait for others: jobs of this flow, or those that are there already. `on`: succeeded, failed, finished or any."""
        for other in others:
            if isinstance(other, FlowJob):
                self.flow.check(other)
            self._after[other.ref if isinstance(other, FlowJob) else job_id(other)] = on
        return self

    def join(self, least: int | str) -> Self:
        """Start as soon as so many of those that it waits for have come about: `all`, `any`, or a number."""
        self._body["join"] = {"at_least": least} if isinstance(least, int) else least
        return self

    def body(self) -> dict[str, Any]:
        """Return the JSON members of its submission."""
        after = [name if on == "succeeded" else {"job": name, "on": on} for name, on in self._after.items()]
        return {"ref": self.ref, **self._body, **({"after": after} if after else {})}

    def uses(self, results: Iterable[ResultRef]) -> None:
        """Wait for the jobs of these results, unless it does already."""
        for each in results:
            self.flow.check(each.job)
            self._after.setdefault(each.job.ref, "succeeded")

    def __rshift__(self, other: Next) -> Next:
        for job in _jobs(other):
            job.after(self)
        return other

    def __rrshift__(self, others: Sequence[FlowJob]) -> FlowJob:
        return self.after(*others)


Next = FlowJob | Sequence[FlowJob]


class Flow:
    """A graph of jobs, in plain Python: nothing is replayed, and no code of it runs on a server.

        flow = rota.Flow("nightly")
        load = flow.job("load", {"day": "2026-01-01"})
        resize = flow.map("resize", over=load.result["images"])
        report = flow.job("report", {"sizes": resize.result})
        clean = flow.job("clean").after(load, on="failed")
        run = client.runs.submit(flow)

    A job's `ref` is its handler's name, with a number when there are several, unless it is given. `labels`, `owner` and
    `hook` are the run's.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        owner: str | None = None,
        labels: Mapping[str, str] | None = None,
        hook: str | None = None,
    ) -> None:
        self._about = {"name": name, "owner": owner, "labels": labels, "hook": hook}
        self._jobs: dict[str, FlowJob] = {}

    def job(self, handler: str, data: Any = None, *, ref: str | None = None, **options: Unpack[Options]) -> FlowJob:
        """Add a job for a handler; the arguments are those of `Client.submit`. It waits for all whose results it is given."""
        return self._add(ref or handler, options, {"handler": handler}, {"data": data})

    def script(
        self,
        script: str,
        variables: Mapping[str, Any] | None = None,
        *,
        ref: str | None = None,
        **options: Unpack[Options],
    ) -> FlowJob:
        """Add a bash script; a variable may be a result."""
        texts = {k: v if isinstance(v, ResultRef) else str(v) for k, v in (variables or {}).items()}
        return self._add(ref or "script", options, {"script": script}, {"variables": texts or None})

    def image(
        self, image: str, arguments: Sequence[Any] = (), *, ref: str | None = None, **options: Unpack[Options]
    ) -> FlowJob:
        """Add a container image."""
        return self._add(ref or "image", options, {"image": image}, {"args": list(arguments) or None})

    def map(
        self,
        handler: str,
        over: FlowJob | ResultRef,
        data: Any = None,
        *,
        ref: str | None = None,
        **options: Unpack[Options],
    ) -> FlowJob:
        """Add an array: the handler is called for each item of the list that the result of `over` will be.

        `data` are keyword arguments beside each item; `parallel` and `halt` are as of any array.
        """
        source = over if isinstance(over, ResultRef) else over.result
        job = self._add(ref or handler, options, {"handler": handler}, {"data": data}, maps=source)
        job.uses([source])
        return job

    def body(self) -> dict[str, Any]:
        """Return the body of `POST /v1/runs`."""
        about = {name: value for name, value in self._about.items() if value is not None}
        return about | {"jobs": [job.body() for job in self._jobs.values()]}

    def check(self, job: FlowJob) -> None:
        """Raise ValueError for a job of another flow."""
        if job.flow is not self:
            raise ValueError(f"job {job.ref!r} is of another flow; wait for that one's id, when it is submitted")

    def _add(
        self, ref: str, options: Options, kind: dict[str, Any], given: dict[str, Any], maps: ResultRef | None = None
    ) -> FlowJob:
        n = 1
        name = ref
        while name in self._jobs:
            n += 1
            name = f"{ref}-{n}"
        results: list[ResultRef] = []
        values: dict[str, Any] = {field: _plain(value, results) for field, value in given.items()}
        if "args" in options:
            options["args"] = _plain(options["args"], results)
        body = body_of(options, **kind, **values)
        if maps is not None:
            body["map"] = {"over": maps.job.ref, **({"path": maps.path} if maps.path else {})}
        job = FlowJob(self, name, body)
        job.uses(results)
        self._jobs[name] = job
        return job


def _jobs(some: Next) -> Sequence[FlowJob]:
    return [some] if isinstance(some, FlowJob) else some


def _plain(value: Any, results: list[ResultRef]) -> Any:
    """Return a value as JSON can hold it, with references in the places of results, which are noted."""
    if isinstance(value, ResultRef):
        results.append(value)
        return {KEY: value.job.ref, **({"path": value.path} if value.path else {})}
    if isinstance(value, Mapping):
        return {
            f"${name}" if isinstance(name, str) and _LITERAL.fullmatch(name) else name: _plain(item, results)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(item, results) for item in value]
    return value
