"""Every test that docs/complaints.md names must exist: as a program, and as a case in it."""

import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def main():
    tests = set(sys.argv[1:])
    with open(os.path.join(ROOT, "docs/complaints.md"), encoding="utf-8") as stream:
        text = stream.read()
    failures = named = 0
    last_columns = "\n".join(line.split("|")[-2] for line in text.splitlines() if line.startswith("|"))
    for name, case in re.findall(r'`([a-z_]+(?:\.[a-z_]+)?)`(?:: "([^"]+)")?', last_columns):
        named += 1
        if not any(test == name or test.startswith(name + ".") for test in tests):
            print(f"docs/complaints.md names {name}, which is no test")
            failures += 1
        elif case:
            folder, _, family = name.partition(".")
            path = "tests/ops/table/checks.cpp" if folder == "operators" else f"tests/{folder}/test_{family}.cpp"
            with open(os.path.join(ROOT, path), encoding="utf-8") as stream:
                if f'TEST_CASE("{case}"' not in stream.read():
                    print(f"docs/complaints.md names \"{case}\", which is no case of {path}")
                    failures += 1
    print(f"{named} tests named, {failures} missing")
    return 1 if failures or not named else 0


sys.exit(main())
