"""Compares each reference of a block with all references: python3 match_references.py BLOCK ALL LIMIT > PAIRS.

The grid chooses the machine, so this program needs only Python 3 and its standard library.
"""

import sys


def distance(text, other, limit):
    """Return the edit distance of two strings relative to the longer one, or 1 if it exceeds the limit."""
    longest = max(len(text), len(other), 1)
    row = list(range(len(other) + 1))
    for number, letter in enumerate(text):
        diagonal, row[0] = number, number + 1
        for column, other_letter in enumerate(other, 1):
            cost = min(diagonal + (letter != other_letter), row[column] + 1, row[column - 1] + 1)
            diagonal, row[column] = row[column], cost
        if min(row) > limit * longest:
            return 1.0
    return row[-1] / longest


def main(block_file, references_file, limit):
    with open(block_file, encoding="utf-8") as stream:
        block = stream.read().splitlines()
    with open(references_file, encoding="utf-8") as stream:
        references = stream.read().splitlines()
    for reference in block:
        for other in references:
            # Each pair occurs in both orders, maybe in different jobs. Compare it only once.
            if other < reference and distance(reference, other, limit) <= limit:
                print(reference, other, sep="\t")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
