"""What a chain of functional methods is, in the eyes of a type checker: the comment is the type that it must reveal."""

from penstock.pipes import IterableWrapper, IterDataPipe
from penstock.pipes.map import MapDataPipe, SequenceWrapper

words = IterableWrapper(["a", "bc"])
reveal_type(words)  # IterableWrapper[str]
reveal_type(words.map(len))  # IterDataPipe[int]
reveal_type(words.map(len).filter(bool))  # IterDataPipe[int]
reveal_type(words.map(len).filter(bool).batch(4))  # IterDataPipe[DataChunk[int]]
reveal_type(words.map(lambda word: (word, len(word))))  # IterDataPipe[tuple[str, int]]
reveal_type(words.shuffle(buffer_size=10).sharding_filter())  # IterDataPipe[str]
reveal_type(words.enumerate())  # IterDataPipe[tuple[int, str]]
reveal_type(words.flatmap(lambda word: [len(word)] * 2))  # IterDataPipe[int]
reveal_type(words.header(1).cycle(2).prefetch(3))  # IterDataPipe[str]

squares = SequenceWrapper([1, 2, 3]).map(lambda n: n * 0.5)
reveal_type(squares)  # MapDataPipe[float]
reveal_type(squares[0])  # float
reveal_type(squares.batch(2))  # MapDataPipe[DataChunk[float]]
reveal_type(squares.to_iter_datapipe())  # IterDataPipe[float]


def takes_any_pipe_of_strings(pipe: IterDataPipe[str]) -> None:
    for item in pipe:
        reveal_type(item)  # str


def takes_any_map_pipe_of_floats(pipe: MapDataPipe[float]) -> None: ...


takes_any_pipe_of_strings(words.shuffle())
takes_any_map_pipe_of_floats(squares)
