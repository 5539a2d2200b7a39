"""Compares each reference of a block with all: python3 match_references.py BLOCK ALL LIMIT > PAIRS.

Runs on the machine that the grid chooses: plain Python 3, nothing but the standard library.
"""

import sys


def distance(one, other, limit):
    """The edit distance of two texts as a share of the longer one; 1 where it must be over the limit."""
    longest = max(len(one), len(other), 1)
    row = list(range(len(other) + 1))
    for above, letter in enumerate(one):
        corner, row[0] = above, above + 1
        for column, against in enumerate(other, 1):
            cheapest = min(corner + (letter != against), row[column] + 1, row[column - 1] + 1)
            corner, row[column] = row[column], cheapest
        if min(row) > limit * longest:
            return 1.0
    return row[-1] / longest


def main(block_file, references_file, limit):
    with open(block_file, encoding="utf-8") as stream:
        block = stream.read().splitlines()
    with open(references_file, encoding="utf-8") as stream:
        references = stream.read().splitlines()
    for one in block:
        for other in references:
            # Each pair is met twice, in two jobs or in one: only one of them looks at it.
            if other < one and distance(one, other, limit) <= limit:
                print(one, other, sep="\t")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
