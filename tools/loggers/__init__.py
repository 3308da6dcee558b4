"""Where the numbers and images of a run go: TensorBoard, visdom, ``metrics.jsonl``."""
