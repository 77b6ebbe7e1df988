"""What a file may hold instead of what was written."""

JSON = {
    "a list": "[1]",
    "text": '"x"',
    "nothing": "null",
    "empty object": "{}",
    "empty": "",
    "half": '{"a": ',
    "deep": "[" * 10**5,
    "deep and closed": "[" * 900 + "]" * 900,
    "digits": '{"a": ' + "9" * 10**5 + "}",
    "surrogate": '{"a": "\\ud800"}',
    "names twice": '{"a": 1, "a": 2}',
}
"""Content of a JSON file or text, by what is wrong with it."""
