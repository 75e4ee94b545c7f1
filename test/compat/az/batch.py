"""Runs many az commands in one process, since az takes a second of processor time to start.

Reads one JSON list of arguments a line, and answers each with a line {"code", "out", "err"}."""
import contextlib
import io
import json
import logging
import sys

from azure.cli.core import get_default_cli

answers = sys.stdout
cli = get_default_cli()
errors = logging.StreamHandler(io.StringIO())  # az logs its errors
errors.setLevel(logging.ERROR)
logging.getLogger("cli").addHandler(errors)
for line in sys.stdin:
    out, err = io.StringIO(), io.StringIO()
    errors.setStream(err)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = cli.invoke(json.loads(line), out_file=out)
        except SystemExit as e:  # what az does on an error
            code = e.code if isinstance(e.code, int) else 1
    print(json.dumps({"code": code, "out": out.getvalue(), "err": err.getvalue()}), file=answers, flush=True)
