"""Sessions, ranker and run on object storage: a real S3A connector and an S3-compatible server.

Needs `pip install 'moto[server]' boto3 sagemaker-pyspark --no-deps` (moto with its own), the one package of the
registry that carries Hadoop's S3A connector; that is of Hadoop 3.3, hence the settings in plain numbers.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmrec.evaluation.runs import read_run
from llmrec.rankers.counting.covisit import Covisit, CovisitSettings
from llmrec.rankers.recipes import ranker_settings
from llmrec.rankers.sessions import Sessions, read_training_files
from llmrec.testing.ranker_contract import ITEMS, training_sessions
from tests.cluster.standalone import cluster_of, free_port

CARRIER = importlib.util.find_spec("sagemaker_pyspark")
HAS = shutil.which("java") and all(map(importlib.util.find_spec, ("pyspark", "moto", "boto3"))) and CARRIER
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not HAS, reason="needs Java, pyspark, moto[server], boto3 and sagemaker-pyspark"),
]
PLAIN = "threads.keepalivetime 60|connection.establish.timeout 5000|connection.timeout 200000|multipart.purge.age 86400"
PROVIDER = "spark.hadoop.fs.s3a.aws.credentials.provider"
SIMPLE = "org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider"
FROM_ENVIRONMENT = "com.amazonaws.auth.EnvironmentVariableCredentialsProvider"


@contextmanager
def storage() -> Iterator[str]:
    port = free_port()
    server = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)])
    try:
        for _ in range(200):
            with suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=5)
                break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def settings(endpoint: str, login: bool) -> str:
    assert CARRIER is not None
    assert CARRIER.origin is not None
    jars = Path(CARRIER.origin).parent / "jars"
    lines = [f"spark.jars {','.join(map(str, [*jars.glob('hadoop-aws-*'), *jars.glob('aws-java-sdk-bundle-*')]))}"]
    lines += [f"spark.hadoop.fs.s3a.{one}" for one in PLAIN.split("|")]
    lines += [f"spark.hadoop.fs.s3a.endpoint {endpoint}", "spark.hadoop.fs.s3a.path.style.access true"]
    lines += ["spark.executor.memory 512m", "spark.driver.memory 512m"]
    lines += [f"{PROVIDER} {SIMPLE if login else FROM_ENVIRONMENT}"]
    lines += [f"spark.hadoop.fs.s3a.{name} key" for name in ("access.key", "secret.key") if login]
    return "\n".join(lines)


def test_everything_on_object_storage_and_no_credentials_is_one_line(tmp_path: Path) -> None:
    import boto3

    lists = [[ITEMS[row % 24], ITEMS[(row + 1) % 24]] for row in range(200)]
    pq.write_table(pa.table({"prev_items": lists, "locale": ["DE"] * 200}), tmp_path / "sessions.parquet")
    ranker = Covisit(CovisitSettings()).fit(training_sessions())
    ranker.save(tmp_path / "model")
    with storage() as endpoint, cluster_of(tmp_path) as cluster:
        keys = {"aws_access_key_id": "key", "aws_secret_access_key": "key", "region_name": "us-east-1"}
        bucket = boto3.client("s3", endpoint_url=endpoint, **keys)
        bucket.create_bucket(Bucket="shop")
        bucket.upload_file(str(tmp_path / "sessions.parquet"), "shop", "sessions/0.parquet")
        bucket.upload_file(str(tmp_path / "sessions.parquet"), "shop", "train/0.parquet")
        for file in (tmp_path / "model").iterdir():
            for place in ("model", "models/counted"):  # the second is counted anew
                bucket.upload_file(str(file), "shop", f"{place}/{file.name}")
        places = [
            "--load",
            "s3a://shop/model",
            "--sessions",
            "s3a://shop/sessions",
            "--out",
            "s3a://shop/lists.parquet",
        ]
        command = [sys.executable, "-m", "llmrec.cli", "rank", "covisit", "--engine", "spark", *places]
        (tmp_path / "conf").mkdir()
        told = []
        for login in (False, True):
            (tmp_path / "conf" / "spark-defaults.conf").write_text(settings(endpoint, login))
            env = cluster.env | {"SPARK_CONF_DIR": str(tmp_path / "conf"), "AWS_EC2_METADATA_DISABLED": "true"}
            asked = [*command, "--master", cluster.master]
            told.append(subprocess.run(asked, env=env, capture_output=True, text=True, check=False))
        assert [one.returncode for one in told] == [2, 0], told[-1].stderr[-2000:]
        (line,) = [one for one in told[0].stderr.splitlines() if one.startswith("error:")]
        assert "s3a://shop/model: no right to it, or no credentials" in line
        count = [sys.executable, "-m", "llmrec.cli", "rank", "covisit", "--engine", "spark", "--master", cluster.master]
        count += ["--train", "s3a://shop/train", "--save", "s3a://shop/models/counted"]
        done = subprocess.run(count, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        held = {one["Key"] for one in bucket.list_objects_v2(Bucket="shop", Prefix="models/")["Contents"]}
        assert {key for key in held if not key.endswith("/")} == {
            f"models/counted/{name}" for name in ("arrays.safetensors", "ranker.json")
        }
        (tmp_path / "counted").mkdir()
        for name in ("arrays.safetensors", "ranker.json"):
            bucket.download_file("shop", f"models/counted/{name}", str(tmp_path / "counted" / name))
        (tmp_path / "lists").mkdir()
        for part in bucket.list_objects_v2(Bucket="shop", Prefix="lists.parquet/part-")["Contents"]:
            name = part["Key"].rpartition("/")[2]
            bucket.download_file("shop", part["Key"], str(tmp_path / "lists" / name))
    here = Covisit(ranker_settings("covisit")).fit(read_training_files([tmp_path / "sessions.parquet"]))
    counted = Covisit.load(tmp_path / "counted")
    assert (
        counted.rank(Sessions.of(lists, ["DE"] * 200)).to_list()
        == here.rank(Sessions.of(lists, ["DE"] * 200)).to_list()
    )
    expected = ranker.rank(Sessions.of(lists, ["DE"] * 200)).to_list()
    assert read_run(tmp_path / "lists").predictions.to_pylist() == expected
