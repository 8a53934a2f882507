"""Programs that a type checker must refuse, each line that ends in `# wrong`, and no other."""

from penstock.pipes import IterableWrapper, IterDataPipe

words = IterableWrapper(["a", "bc"])
words.map(3)  # wrong
words.map(lambda word: word + 1)  # wrong
words.filter(lambda word: word.no_such_method())  # wrong
words.batch("4")  # wrong
words.batch(4, no_such_option=True)  # wrong
words.no_such_pipe()  # wrong
words.map(len).map(str.upper)  # wrong
words.batch(4).map(str.upper)  # wrong
IterableWrapper(3)  # wrong

numbers: IterDataPipe[int] = words  # wrong
chunks: IterDataPipe[list[str]] = words.batch(2)
