"""``python launcher.py DESCRIPTOR COMMAND...``: run a command, and write what it took to a
descriptor, as JSON.

The kernel counts the memory of a process that starts another one to the peak of the started one.
The benchmark is larger than what it measures; this process is small.
"""

import json
import os
import resource
import sys
import time


def main() -> None:
    """Run the command to its end, with this process's streams and directory."""
    descriptor, command = int(sys.argv[1]), sys.argv[2:]
    os.set_inheritable(descriptor, False)
    began = time.perf_counter()
    process = os.posix_spawnp(command[0], command, os.environ)
    _, status = os.waitpid(process, 0)
    wall_s = time.perf_counter() - began
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    measured = {
        "wall_s": wall_s,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_bytes": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        "exit_code": os.waitstatus_to_exitcode(status),
    }
    os.write(descriptor, json.dumps(measured).encode())


if __name__ == "__main__":
    main()
