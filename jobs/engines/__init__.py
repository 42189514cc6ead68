"""Who does the stages of a job: threads of this process, or Ray."""
