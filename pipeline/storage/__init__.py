"""Bytes by path or URI: filesystems, archives and their members."""
