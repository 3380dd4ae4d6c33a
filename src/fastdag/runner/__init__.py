"""What runs things in the order of a graph: the commands of a plan (`fastdag run`), tasks in Python (`fastdag.run`)."""
