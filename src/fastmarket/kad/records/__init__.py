"""Records: values with their rules, where they are stored, and the job that puts something on the k
closest."""
