"""What is done: plain functions and callables. No ray, no click."""
