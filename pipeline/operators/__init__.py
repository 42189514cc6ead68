"""The only callables handed to the engine; importable and testable without it."""
