"""What `finetune` does: samples, augmentation, losses, schedule, loop, checkpoint."""
