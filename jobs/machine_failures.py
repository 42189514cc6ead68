"""What disks, rights and networks do to a run, as a sentence instead of a traceback."""

import errno

from maskmill.pipeline.storage.retries import StorageTrouble

_AGAIN = "then give the same command again: what is committed stays"
_REMEDIES = {
    errno.ENOSPC: f"free some space, {_AGAIN}",
    errno.EDQUOT: f"ask for a larger quota or free some space, {_AGAIN}",
    errno.EACCES: "check who may read and write there",
    errno.EPERM: "check who may read and write there",
    errno.EROFS: "choose a folder that can be written",
    errno.ENOTDIR: "a file stands where a folder is needed; choose another path",
    errno.EISDIR: "a folder stands where a file is needed; choose another path",
    errno.ENAMETOOLONG: "choose a shorter path",
    errno.EMFILE: f"raise the limit of open files (ulimit -n), {_AGAIN}",
    errno.EIO: f"check the disk, {_AGAIN}",
    errno.ESTALE: f"check the network disk, {_AGAIN}",
    errno.ETIMEDOUT: f"check the network, {_AGAIN}",
}


def machine_failure(error: BaseException | None) -> str | None:
    """What happened and what to do, where the machine failed and not the code; else None.

    pyarrow's remote filesystems raise plain OSErrors without a number.
    """
    if isinstance(error, StorageTrouble) or (type(error) is OSError and error.errno is None):
        said = str(error).partition("\n")[0]
        return f"{said}; check the address, the credentials and the network, {_AGAIN}"
    if not isinstance(error, OSError) or error.errno not in _REMEDIES:
        return None
    # Ray appends its own advice, of several lines, to the arguments of what a task raised.
    named = error.filename and "\n" not in str(error.filename)
    name = f"{error.filename}: " if named else ""
    return f"{name}{error.strerror or error}; {_REMEDIES[error.errno]}"
