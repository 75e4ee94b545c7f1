"""Runs many az commands in one process: az takes a second to start, and a run has hundreds of artefacts.

Reads one JSON list of arguments a line, and answers each with a line {"code", "out", "err"}."""
import contextlib
import io
import json
import sys

from azure.cli.core import get_default_cli

answers = sys.stdout
cli = get_default_cli()
for line in sys.stdin:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = cli.invoke(json.loads(line), out_file=out)
        except SystemExit as e:  # what az does on an error
            code = e.code if isinstance(e.code, int) else 1
    print(json.dumps({"code": code, "out": out.getvalue(), "err": err.getvalue()}), file=answers, flush=True)
