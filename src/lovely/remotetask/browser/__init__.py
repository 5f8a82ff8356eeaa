"""The management pages: services, jobs and cron jobs in a browser."""
