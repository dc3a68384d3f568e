"""A child process whose handler does whatever the tests ask for, good or bad."""

import os
import sys
import time
from typing import Any

import numpy as np

from bvverify.child import serve
from bvverify.errors import NotExact

Request = tuple[Any, ...]


def handle(request: Request) -> Any:
    """Do what the first item names, with the others as arguments."""
    match request:
        case ("echo", value):
            return value
        case ("process",):
            return os.getpid()
        case ("variable", name):
            return os.environ.get(name)
        case ("sleep", seconds):
            time.sleep(seconds)
        case ("busy", seconds):
            end = time.process_time() + seconds
            while time.process_time() < end:
                pass
        case ("native loop", size):
            return float(np.linalg.svd(np.ones((size, size)))[1][0])
        case ("abort",):
            os.abort()
        case ("exit", code):
            sys.stderr.write("the last words\n")
            sys.stderr.flush()
            os._exit(code)
        case ("raise", message):
            raise NotExact(message)
        case ("allocate", count):
            return len(np.ones(count, dtype=np.uint8))
        case ("print", text):
            print(text, flush=True)
            os.write(1, text.encode())
            return "printed"
    return None


if __name__ == "__main__":
    serve(handle)
