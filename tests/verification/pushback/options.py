"""The options of the gateway."""

import argparse


def pair(text: str) -> tuple[float, float]:
    first, _, second = text.partition(":")
    return float(first), float(second)


def cap_change(text: str) -> tuple[float, int]:
    at, cap = pair(text)
    return at, int(cap)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.verification.pushback.gateway")
    add = parser.add_argument
    add("--port", type=int, default=0)
    add("--seed", type=int, default=1)
    add("--price", type=int, default=2, help="credits of a job")
    add("--asset-price", type=int, default=1)
    add("--credits", type=int, default=10**9, help="balance of a new account")
    add("--runners", type=int, default=128)
    add("--service", type=float, default=0.2, help="seconds of a job, their mean")
    add("--spread", type=float, default=0.0, help="sigma of lognormal service times; 0 is constant")
    add("--estimate", type=float, help="estimated_time_seconds in the metadata")
    for name in ("--stray-429", "--stray-503", "--stray-500", "--cut"):
        add(name, type=float, default=0.0, metavar="SHARE", help="of API requests, whatever the load")
    add("--retry-after", type=lambda text: None if text == "none" else text, metavar="SECONDS|none")
    add("--max-in-flight", type=int, help="submits are refused while so many jobs are queued or running")
    add("--change", type=cap_change, action="append", default=[], metavar="AT:MAX_IN_FLIGHT")
    add("--max-rps", type=float, help="a token bucket over requests")
    add("--rps-on", choices=("all", "submits"), default="all")
    add("--burst", type=float, help="depth of that bucket; default one second of it")
    add("--outage", type=pair, action="append", default=[], metavar="FROM:TO", help="seconds from the first submit")
    add("--tenants", type=float, default=0.0, metavar="SHARE", help="of the runners' time for others, in bursts")
    return parser.parse_args(arguments)
