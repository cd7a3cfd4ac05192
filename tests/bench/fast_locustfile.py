"""Locust's FastHttpUser in a closed loop; the processor time of a stretch of it, as one JSON line."""

import json
import sys
import time

import gevent
from locust import FastHttpUser, events, task


class Fast(FastHttpUser):
    @task
    def get(self):
        self.client.get("/")


@events.spawning_complete.add_listener
def _begin(user_count, **more):
    runner = _environment[0].runner

    def stretch():
        gevent.sleep(0.3)
        cpu, count = time.process_time(), runner.stats.total.num_requests
        gevent.sleep(2.0)
        cpu, count = time.process_time() - cpu, runner.stats.total.num_requests - count
        sys.stdout.write(
            json.dumps({"requests": count, "cpu_us": cpu / max(1, count) * 1e6, "per_s": count / 2.0}) + "\n"
        )
        sys.stdout.flush()
        runner.quit()

    gevent.spawn(stretch)


_environment = []


@events.init.add_listener
def _init(environment, **more):
    _environment.append(environment)
