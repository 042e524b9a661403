SELECT picked.project AS project, picked.branch AS branch, picked.hash AS hash,
       picked.status AS status, picked.subject AS subject, original.hash AS original
FROM cls AS picked
JOIN cls AS original
  ON original.project = picked.project AND original.change_id = picked.change_id
WHERE picked.branch NOT IN ('master', 'main') AND original.branch IN ('master', 'main')
UNION
SELECT '', '', hash, 'merged', subject,
       substr(message, instr(message, '(cherry picked from commit ') + 27, 40)
FROM commits
WHERE message LIKE '%(cherry picked from commit %'
ORDER BY project, branch, hash
