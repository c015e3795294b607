"""Records: values with their rules, the stores that hold them, and the job that puts something on the k
closest peers."""
