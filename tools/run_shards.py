"""Run every shard of a command on a Ray cluster, and again where a machine was lost.

python -m tools.run_shards --command make_proposals --options voc-root=/shared/VOC --out parts
python -m tools.run_shards --command detect --options run-dir=/shared/run --images s3://a --out s3://b

A shard is the command in a process of its own on one of the machines, so its files are those that
--shard makes by hand. Its record, 00003-of-00064.json, holds their sha256 and comes last; a shard
that has one is not made again, so a stopped command continues. One that fails does not end the
others. --images and --out may be any folder that fsspec opens (s3://, gs://, hdfs:// with its
package); files that --options names are read where the shard runs, so they lie in a folder that all
machines share. --ray-address auto takes the cluster that this machine belongs to; without it the
shards run here. Needs the extra ray.
"""

from tools.cli.command import Command
from tools.pipelines.settings import RunShardsSettings

main = Command("run_shards", RunShardsSettings, "tools.pipelines.shards", __doc__)

if __name__ == "__main__":
    raise SystemExit(main())
