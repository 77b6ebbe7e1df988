"""Files as a browser uploads them."""

import datetime


def file(name, content):
    """What the browser sends for an uploaded file."""
    now = datetime.datetime.now(datetime.UTC)
    return {"name": name, "type": "", "size": len(content), "content": content,
            "last_modified": now}  # fmt: skip
