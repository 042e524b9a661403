WITH RECURSIVE
-- Commit messages line by line, those that name reviewers.
lines(hash, line, rest) AS (
    SELECT hash, '', message || char(10) FROM commits WHERE message LIKE '%Reviewed-by:%'
    UNION ALL
    SELECT hash,
           substr(rest, 1, instr(rest, char(10)) - 1),
           substr(rest, instr(rest, char(10)) + 1)
    FROM lines WHERE rest <> ''
),
reviewed(hash, reviewer) AS (
    SELECT hash, trim(substr(line, 13)) FROM lines WHERE line LIKE 'Reviewed-by:%'
    UNION
    SELECT cls.hash, cl_votes.voter FROM cl_votes JOIN cls USING (project, number)
    WHERE cl_votes.label = 'Code-Review' AND cl_votes.value <> 0
    UNION
    SELECT commit_id, "user" FROM reviews WHERE "user" IS NOT NULL AND state <> 'PENDING'
)
SELECT reviewer,
       CASE WHEN file IS NULL THEN '?'
            WHEN instr(file, '/') = 0 THEN '.'
            ELSE substr(file, 1, instr(file, '/') - 1) END AS folder,
       count(DISTINCT hash) AS commits
FROM reviewed LEFT JOIN commit_files USING (hash)
GROUP BY reviewer, folder
ORDER BY commits DESC, reviewer, folder
