"""What a grid offers beside jobs and files: a module for each service, with its values and its methods."""
