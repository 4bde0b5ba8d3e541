-- All gateway accounts of a process, JSON: the identity of each, with the admission of its calls as the process sees it. Null
-- for an older release, which has the one account of `gateway`, and tells of it in `admission`. A process of this release
-- writes those two for the account that it shares with processes of such a release.
alter table processes add column accounts text;
