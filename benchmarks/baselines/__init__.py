"""What is measured beside understudy and is not somebody's package."""
