"""Where the numbers and pictures of a run go: TensorBoard, visdom, ``metrics.jsonl``."""
