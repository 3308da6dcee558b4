"""Where a run logs its numbers and images: TensorBoard, visdom, MLflow, ``metrics.jsonl``."""
