-- Routing rule of Orthanc: send the worker's results to the PACS ("pacs" in DicomModalities), and nothing else.
function OnStoredInstance(instanceId, tags, metadata, origin)
  if tags['ManufacturerModelName'] == 'covid-monai results' then
    SendToModality(instanceId, 'pacs')
  end
end
