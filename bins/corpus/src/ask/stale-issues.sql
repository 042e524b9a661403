SELECT issues.repo, issues.number, issues.title,
       strftime('%Y-%m-%d', max(issues.updated, coalesce(max(comments.created), 0)), 'unixepoch')
           AS last_word,
       (CAST(strftime('%s', 'now') AS INTEGER)
        - max(issues.updated, coalesce(max(comments.created), 0))) / 86400 AS days
FROM issues LEFT JOIN comments USING (repo, number)
WHERE issues.closed = 0 AND issues.pull_request = 0
GROUP BY issues.repo, issues.number
HAVING days >= 90
ORDER BY days DESC, issues.repo, issues.number
