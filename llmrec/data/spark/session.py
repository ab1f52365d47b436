"""The Spark session: the active one, or one on a cluster or on this machine that ends with the work."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from llmrec.errors import ConfigError, require

__all__ = ["spark_session"]

_JAVA: Final = 17
_QUIET: Final = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false"}
_HERE: Final = {
    "spark.driver.memory": "6g",  # as much as DuckDB may hold; Spark's own 1g is for a driver that computes nothing
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.sql.shuffle.partitions": str(4 * (os.cpu_count() or 1)),
}


@contextmanager
def spark_session(master: str | None = None) -> Iterator[Any]:
    """The active session, left as it was; or one of its own, stopped at the end.

    Args:
        master: ``spark://HOST:7077``, ``yarn``, ``k8s://…``, ``local[2]``. None: what ``spark-submit`` says, where that
            started this program, else all cores of this machine.

    Raises:
        ConfigError: there is no Java, or Spark does not start.
        MissingExtraError: pyspark is not installed.
    """
    require("pyspark", "spark")
    from pyspark.sql import SparkSession

    active = SparkSession.getActiveSession()
    if active is not None:
        yield active
        return
    submitted = "PYSPARK_GATEWAY_PORT" in os.environ
    if not submitted:
        _check_java()
        master = master or "local[*]"
        if master.startswith("local"):  # workers are started by name, and another python3 may come first
            os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName("llmrec")
    builder = builder.master(master) if master else builder
    for key, value in (_QUIET | (_HERE if (master or "").startswith("local") else {})).items():
        builder = builder.config(key, value)
    try:
        session = builder.getOrCreate()
    except Exception as error:  # of whatever kind; its words are those of a log
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"--engine spark: Spark did not start ({reason}); use --engine duckdb") from error
    session.sparkContext.setLogLevel("OFF" if master and not master.startswith("local") else "ERROR")
    try:
        yield session
    finally:
        session.stop()


def _check_java() -> None:
    """Refuse Spark where no Java runs, before it fills the terminal.

    Raises:
        ConfigError: there is none, or it does not start.
    """
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if java is None:
        raise ConfigError(
            "--engine spark needs Java 17, and no java is on the PATH; install it, or use --engine duckdb"
        )
    try:
        told = subprocess.run([java, "-version"], capture_output=True, text=True, check=False, timeout=60)
        started, version = told.returncode == 0, told.stderr + told.stdout
    except (OSError, subprocess.TimeoutExpired):
        started, version = False, ""
    way = "mend JAVA_HOME" if home else "install Java 17"
    if not started:
        raise ConfigError(f"--engine spark: {java} does not start; {way}, or use --engine duckdb")
    found = re.search(r'version "(?:1\.)?(\d+)', version)
    if found and int(found.group(1)) < _JAVA:
        raise ConfigError(f"--engine spark: {java} is Java {found.group(1)}, Spark needs {_JAVA}; {way}")
