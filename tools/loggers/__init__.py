"""Where a run logs its numbers and images: TensorBoard, visdom, ``metrics.jsonl``."""
