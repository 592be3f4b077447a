"""What the tests of pages look at: jobs in every state, a run, schedules, workers. Their texts try to be more than texts."""

from __future__ import annotations

from tests.http.live import Live

NASTY = "<img src=x onerror=document.title='owned'>"


def fill(live: Live) -> dict[str, str]:
    """Put it there; give the ids. All that is claimed has a queue of its own, so that nothing else is."""
    worker = live.worker("h", queues=["stock"], scripts=True, arrays=True, name="w-1", host="node-1", pid=17)
    live.worker("h", "other", name="w-2")
    named = {}
    for name in ("good", "bad", "gone", "runs"):
        named[name] = live.submit(
            data={"n": name, "text": NASTY},
            owner="ana",
            labels={"team": "a"},
            queue="stock",
            hook="http://127.0.0.1:9/h",
        )["id"]
    leases = {lease["job"]: lease for lease in live.claim(worker, 4)}
    live.client.post(
        f"/v1/workers/{worker}/logs",
        json={
            "logs": [
                {"job": named["bad"], "attempt": 1, "n": 0, "stream": "stdout", "text": f"began {NASTY}\n"},
                {"job": named["bad"], "attempt": 1, "n": 1, "stream": "stderr", "text": "it breaks\n"},
            ],
            "progress": [{"job": named["runs"], "attempt": 1, "progress": {"fraction": 0.4, "message": NASTY}}],
        },
    ).raise_for_status()
    live.report(worker, leases[named["good"]], result={"rows": [1, 2, {"deep": NASTY}], "none": None})
    error = {"type": "ValueError", "message": NASTY, "traceback": f"Traceback\n  {NASTY}"}
    live.report(worker, leases[named["bad"]], "errored", error=error, refused=True)
    live.client.post(f"/v1/jobs/{named['gone']}/abort").raise_for_status()
    proof = {"signals": [["TERM", 0.01]], "processes": 3, "took_s": 0.2}
    live.report(worker, leases[named["gone"]], "aborted", proof=proof)
    named["queued"] = live.submit(handler="nobody-has-it", queue="q-2", priority=3)["id"]
    named["later"] = live.submit(delay="5h")["id"]
    named["blocked"] = live.submit(after=[named["later"]])["id"]
    named["script"] = live.submit(handler=None, script=f"echo '{NASTY}'\nexit 3", delay="1h")["id"]
    body = {
        "name": "night",
        "rule": "30 2 * * *",
        "timezone": "Europe/Berlin",
        "job": {"handler": "h", "data": {"a": NASTY}},
    }
    made = live.client.post("/v1/schedules", json=body)
    assert made.status_code == 201, made.text
    named["schedule"] = made.json()["id"]
    live.client.post(f"/v1/schedules/{named['schedule']}/run").raise_for_status()
    chain = [
        {"handler": "nobody-has-it", "ref": f"step-{n}", "after": [f"step-{n - 1}"] if n else []} for n in range(3)
    ]
    made = live.client.post("/v1/runs", json={"name": "chain", "jobs": chain})
    assert made.status_code == 201, made.text
    named["run"] = made.json()["id"]
    return named
