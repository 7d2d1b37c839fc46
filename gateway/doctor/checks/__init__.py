"""What is looked at, one subject a file: `look(case)` yields findings; how something is judged is a pure function."""
