"""Looking at a run: a slim index of its rows, its pictures at any size, decisions of reviewers."""
