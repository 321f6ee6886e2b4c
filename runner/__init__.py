"""The client that drives Claude episodes against a grading service and aggregates the results."""
