"""Mutations: small patches, each with one error that a person might make, which the tests must catch.

python -m tests.mutations                      # tries them all, and fails where one survives
python -m tests.mutations holm-without-the-maximum --whole
python -m tests.mutations --list               # what each of them breaks
python -m tests.mutations --check              # whether all of them still apply; runs no test

A mutation that survives is a promise that no test keeps. To add one, change a line of `research` in a way that a person
could in a refactoring, and write its diff here: a line that says what is broken and whom that would hurt, then what
`git diff research` prints. The name says what is broken. It must change what the code does, and nothing at import.

Tried are first the tests that bear the module's name, then those of its wing, then those of its room, until one fails.
Where the one that notices comes late in this order, a second line names it, to be tried before all: `Tests: ` and
files of tests or single tests, with a space between them.
"""
