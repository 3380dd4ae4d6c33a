"""Concurrent histories of real threads against a sequential specification.

Threads run short random programs on one object and note when each call began, when it ended and what it answered. A
history is *linearizable* when every call can be given one moment between its beginning and its end such that the calls,
made one by one at these moments, would have answered the same (Herlihy and Wing 1990).

- `search.py`: the search for such moments;
- `graph_specification.py`, `manager_specification.py`: what calls mean that are made one by one;
- `answers.py`: what was answered, in the words of the specifications;
- `subjects.py`: the objects, and random programs for them; `names.py`: names that make calls meet;
- `recording.py`: threads that run the programs, and the histories that come of it;
- `run.py`: histories recorded, searched and counted, and of one that is wrong what shows it;
- `__main__.py`: the command line.
"""
