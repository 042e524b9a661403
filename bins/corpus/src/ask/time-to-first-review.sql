WITH firsts(project, opened, reviewed) AS (
    SELECT issues.repo, issues.created, min(reviews.created)
    FROM issues JOIN reviews USING (repo, number)
    WHERE reviews."user" IS NOT issues."user"
    GROUP BY issues.repo, issues.number
    UNION ALL
    -- People are named by address in commits and by account in messages: the names agree.
    SELECT cls.project, cls.created, min(cl_messages.date)
    FROM cls JOIN cl_messages USING (project, number)
    WHERE trim(substr(cl_messages.author, 1, instr(cl_messages.author, '<') - 1))
          <> trim(substr(coalesce(cls.owner, ''), 1, instr(coalesce(cls.owner, ''), '<') - 1))
    GROUP BY cls.project, cls.number
),
waits AS (
    SELECT project, strftime('%Y-%m', opened, 'unixepoch') AS month,
           (reviewed - opened) / 3600.0 AS hours
    FROM firsts WHERE reviewed >= opened
),
ranked AS (
    SELECT *, row_number() OVER (PARTITION BY project, month ORDER BY hours) AS place,
           count(*) OVER (PARTITION BY project, month) AS reviewed
    FROM waits
)
SELECT project, month, reviewed, round(hours, 1) AS median_hours
FROM ranked WHERE place = (reviewed + 1) / 2
ORDER BY month DESC, project
