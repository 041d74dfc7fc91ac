"""How the queue bears growth: 200 workers, 10,000 queued runs, 1,000 watchers. No torch in it."""
