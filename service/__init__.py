"""The grading microservice: task, sandbox, grading and the HTTP that serves them."""
